local annotations = obj.metadata.annotations or {}
local value = annotations["llmautoscaler.io/paused"]
local paused = value ~= nil and value ~= "false" and value ~= "False" and value ~= "FALSE"

local actions = {}
actions["pause"] = {["disabled"] = paused, ["iconClass"] = "fa fa-fw fa-pause-circle"}
actions["resume"] = {["disabled"] = not paused, ["iconClass"] = "fa fa-fw fa-play-circle"}
return actions
