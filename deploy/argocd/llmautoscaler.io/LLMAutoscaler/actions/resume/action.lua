-- The annotation is not removed: if it is the only one, Argo CD restores an object that became empty.
if obj.metadata.annotations ~= nil then
  obj.metadata.annotations["llmautoscaler.io/paused"] = "false"
end
return obj
