if obj.metadata.annotations == nil then
  obj.metadata.annotations = {}
end
obj.metadata.annotations["llmautoscaler.io/paused"] = "true"
return obj
