//! The reasons of conditions and events, and the rules in `limitedBy` of a status.

use std::cmp::Ordering;

use super::named_variants;

named_variants! {
    /// The reason of a condition or an event. Those that the HPA has are the HPA's to the letter.
    /// Reasons compare by their text, so lists of them are alphabetical.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
    Reason {
        // Reading and writing the scale: `AbleToScale`, and events.
        /// The scale was read. The HPA's.
        SucceededGetScale,
        /// The scale could not be read. The HPA's.
        FailedGetScale,
        /// Nothing stabilizes the size. The HPA's.
        ReadyForNewScale,
        /// The stabilization window keeps the size from shrinking so far. The HPA's.
        ScaleDownStabilized,
        /// The stabilization window keeps the size from growing so far. The HPA's.
        ScaleUpStabilized,
        /// The scale was written. The HPA's.
        SucceededRescale,
        /// The scale could not be written. The HPA's.
        FailedUpdateScale,
        /// Another autoscaler scales the target.
        TargetTaken,
        /// The owner of the target drives its size.
        TargetControlled,
        /// The event of a size that was written. The HPA's.
        SuccessfulRescale,
        /// The event of a size that could not be written. The HPA's.
        FailedRescale,
        /// The event of a size that belongs to the operator too from now on, and was not changed.
        SizeAdopted,
        /// Another writer changes the size again and again. An event too.
        ReplicasContested,

        // Computing a number: `ScalingActive`, and events.
        /// A number was computed from a metric. The HPA's.
        ValidMetricFound,
        /// The target has zero replicas, and this autoscaler did not scale it to zero. The HPA's.
        ScalingDisabled,
        /// The scale has no selector, or one that cannot be parsed. The HPA's.
        InvalidSelector,
        /// The event of a scale without a selector. The HPA's.
        SelectorRequired,
        /// Several autoscalers select the same pods. The HPA's.
        AmbiguousSelector,
        /// A metric of the pods could not be computed. The HPA's.
        FailedGetPodsMetric,
        /// A metric of an object could not be computed. The HPA's.
        FailedGetObjectMetric,
        /// An external metric could not be computed. The HPA's.
        FailedGetExternalMetric,
        /// The event of a step in which no number could be computed. The HPA's.
        FailedComputeMetricsReplicas,
        /// There were too few events in the windows to measure anything.
        NoSignal,
        /// The spec cannot be carried out.
        InvalidSpec,
        /// The pods of the cluster could not be listed yet.
        PodsUnknown,
        /// The namespace has more autoscalers than the operator serves.
        TooManyAutoscalers,
        /// The operator's own code has failed, and begins again.
        InternalError,

        // The rule that made the number: `ScalingLimited`, and `limitedBy`.
        /// No rule changes the number. The HPA's.
        DesiredWithinRange,
        /// The minimum is larger than what the metrics ask for. The HPA's.
        TooFewReplicas,
        /// The maximum is smaller than what the metrics ask for. The HPA's.
        TooManyReplicas,
        /// The scale-up policies allow fewer replicas for now. The HPA's.
        ScaleUpLimit,
        /// The scale-down policies allow fewer removals for now. The HPA's.
        ScaleDownLimit,
        /// The target has not been idle for long enough to go to zero.
        NotIdleYet,
        /// A hold: too few replicas have a sample.
        NoQuorum,
        /// A hold: a part of a total is missing.
        IncompleteTotal,
        /// A hold: the samples are in doubt.
        SamplesInDoubt,
        /// The ratio of the roles changed the number.
        RoleRatio,
        /// The number waits for replicas of the other role, which have not started.
        RoleLagging,
        /// The maximum of all roles together changed the number.
        SharedCeiling,
        /// The number waits until replicas of another role have terminated.
        WaitingForRoom,
        /// The size was outside of minimum and maximum. Only in `limitedBy`.
        OutOfBounds,

        // `ScaledToZero`.
        /// This autoscaler scaled the target to zero. The HPA's.
        ScaledToZero,
        /// The latest write was not to zero. The HPA's.
        NotScaledToZero,

        // `Ready`, `Recommending`, `Paused` and `ManualChange`.
        /// The autoscaler does all that it should.
        Scaling,
        /// The LLMAutoscalers of the cluster cannot be watched, so a newer spec may be unseen.
        AutoscalersUnknown,
        /// The autoscaler does all that it should: it recommends, and leaves the size to others.
        Recommending,
        /// The spec has `mode: Recommend`.
        RecommendMode,
        /// The autoscaler does all that it should, except for writing.
        Paused,
        /// The autoscaler does all that it should, and respects a size set by another writer.
        ManualChange,
        /// The object has the annotation `llmautoscaler.io/paused`.
        PausedByAnnotation,
        /// A size set by another writer is respected.
        Respected,

        // `SamplesComplete`, `FirstSourceUsed` and `Fallback`.
        /// Every running replica has a sample.
        AllReplicas,
        /// Some replicas have no usable sample.
        MissingSamples,
        /// Every sample is from the first source that can have it.
        FirstSource,
        /// Some samples are from a later source.
        FailedOver,
        /// No metric can be read, so the fallback is in force.
        MetricsUnavailable,
        /// The metrics can be read, so the fallback is not in force.
        NotNeeded,

        // `SLOActive`.
        /// The size is the smallest one that keeps the promise, and follows it.
        SizedByPromise,
        /// There is no model of the engine yet.
        LearningEngine,
        /// The model does not describe what the engine does.
        PoorFit,
        /// The engine, or its page, is of a kind that is not learned.
        EngineUnsupported,
        /// The pages lack a series.
        SeriesMissing,
        /// There has been no new sample for a while.
        NoFreshSamples,
        /// A target is below the first bucket of the engine's histogram.
        TargetNotMeasurable,
        /// One request alone takes longer than a target.
        TargetBelowEngine,

        // `ReplicasStuck`.
        /// A container of a replica crashes again and again.
        Crashing,
        /// A pod of a replica cannot be scheduled.
        Unschedulable,
        /// A replica has not become ready for far longer than usual.
        NotReady,
        /// Requested replicas are not created.
        NotCreated,

        // Draining: `Draining`, `DrainBestEffort`, `RolloutStuck`, `ReadinessGateKept`, and events.
        /// The scale-down waits for requests in flight.
        RequestsInFlight,
        /// The scale-down is drained and waits for the other role.
        WaitsForRole,
        /// Nothing shrinks while a rollout is in progress.
        RolloutInProgress,
        /// Nothing has been drained yet.
        Idle,
        /// The last scale-down ended with all requests answered.
        Drained,
        /// The last scale-down ended because its deadline passed.
        DeadlineExceeded,
        /// The event of a scale-down that ended because its deadline passed.
        DrainDeadlineExceeded,
        /// The last scale-down was called off.
        Cancelled,
        /// Pods lack the readiness gate.
        NoReadinessGate,
        /// RBAC forbids a write to pods, or to what owns them.
        NotPermitted,
        /// The pods that a smaller size removes are not known for this kind.
        UnknownVictims,
        /// The number of requests in flight is not known.
        RequestsUnknown,
        /// The rollout makes no progress.
        NoProgress,
        /// A readiness gate could not be written.
        WriteFailed,

        // `Advisory`.
        /// The clock of a Prometheus server differs from the operator's.
        ClockSkew,
        /// The engines of some replicas sleep.
        EngineAsleep,
        /// The engines of some replicas have requests, and make no progress.
        EngineWedged,
        /// A metric is read from a series that has been renamed.
        FormerName,
        /// All metrics are latencies, which are unknown without requests.
        LatencyOnly,
        /// Replicas too many are not removed.
        NotRemoved,
        /// At zero replicas only a wake call brings one back.
        OnlyCallsWake,
        /// At zero replicas only gauges are known, which change if requests are held then.
        OnlyHeldRequestsWake,
        /// Pods publish metrics of another engine than the spec's.
        OtherEngine,
        /// A Prometheus server warns that its answer is not complete.
        PartialAnswer,
        /// All metrics are queues, which are empty until all replicas are busy.
        QueueOnly,
        /// The selector finds more replicas than the target has. A hold too.
        ReplicasMismatch,
        /// Pods are killed before their slowest requests are answered.
        ShortGracePeriod,
        /// A writer has set the same size three times within seven days. An event too.
        SizeSetAgain,
        /// The replicas start one after the other.
        StartsInTurn,
        /// No value that a metric can have exceeds its target, or its values say too little for it.
        TargetOutOfReach,
        /// The sizes of the namespace change more often than the operator writes them.
        TooManySizeChanges,
        /// A controller owns the target, and it is not known whether that sets the size.
        UnknownController,
        /// A metric has two candidates with different values.
        TwoCandidates,
        /// A series of a gateway looks like a measure of load and is none.
        UnfitSeries,
        /// Pods that are not scraped as workers of a replica declare the metrics port as well.
        WorkersWithPort,

        // `PodMonitorReady`.
        /// The PodMonitor is up to date.
        Applied,
        /// The PodMonitor could not be applied.
        ApplyFailed,
        /// RBAC forbids applying the PodMonitor.
        Forbidden,
        /// A PodMonitor of that name exists and was not made by this autoscaler.
        NotOurs,
        /// Another PodMonitor scrapes the same pods already.
        AlreadyMonitored,
        /// The cluster has no PodMonitors.
        MonitoringNotInstalled,

        // `SchemaMismatch`.
        /// The CRD lacks fields that the operator has.
        CRDOlder,
        /// The CRD has fields that the operator lacks.
        CRDNewer,
    }
}

impl Ord for Reason {
    fn cmp(&self, other: &Self) -> Ordering {
        self.as_str().cmp(other.as_str())
    }
}

impl PartialOrd for Reason {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Reason {
    /// Returns the reason with this name, or `None` if it is not one of ours.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|reason| reason.as_str() == text)
    }

    /// Returns whether roles of the same service give this reason, when one changes another's
    /// number. Unlike the HPA's reasons, it does not outlive the step that gave it.
    pub fn is_of_roles(text: &str) -> bool {
        [Self::RoleRatio, Self::RoleLagging, Self::SharedCeiling, Self::WaitingForRoom]
            .iter()
            .any(|reason| reason.as_str() == text)
    }
}
