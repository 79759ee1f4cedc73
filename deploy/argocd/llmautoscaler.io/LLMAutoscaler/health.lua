-- Follows kstatus (sigs.k8s.io/cli-utils): observedGeneration, Stalled and Ready are enough.
local health = {status = "Progressing", message = "Waiting for the operator to look at the spec"}

if obj.status == nil or obj.status.observedGeneration ~= obj.metadata.generation then
  return health
end

local conditions = {}
for _, condition in ipairs(obj.status.conditions or {}) do
  conditions[condition.type] = condition
end

local stalled, paused, ready = conditions.Stalled, conditions.Paused, conditions.Ready
if stalled ~= nil and stalled.status == "True" then
  health.status = "Degraded"
  health.message = stalled.message
elseif paused ~= nil and paused.status == "True" then
  health.status = "Suspended"
  health.message = paused.message
elseif ready ~= nil then
  health.message = ready.message
  if ready.status == "True" then
    health.status = "Healthy"
  end
end
return health
