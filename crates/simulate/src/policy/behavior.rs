//! The HPA's stabilization and rate policies, for peers that act through an HPA.

use super::{Limits, window::Window};

/// The HPA's tolerance.
const TOLERANCE: f64 = 0.1;

/// A rate policy: so many pods or percent, whichever is more, within a period.
#[derive(Debug, Clone, Copy)]
pub(super) struct Rate {
    pub(super) pods: f64,
    pub(super) percent: f64,
    pub(super) period: f64,
}

/// The behavior of an HPA between a wanted and a written size.
#[derive(Debug, Clone)]
pub(super) struct Behavior {
    limits: Limits,
    up: Rate,
    down: Rate,
    lowest: Window,
    highest: Window,
    /// The changes of size: the time, and by how much.
    changes: Vec<(f64, f64)>,
}

impl Behavior {
    /// Returns a behavior with stabilization windows of so many seconds.
    pub(super) fn new(limits: Limits, up: (f64, Rate), down: (f64, Rate)) -> Self {
        Self {
            limits,
            up: up.1,
            down: down.1,
            lowest: Window::new(up.0.max(1e-3)),
            highest: Window::new(down.0.max(1e-3)),
            changes: Vec::new(),
        }
    }

    /// Returns the size to write.
    pub(super) fn size(&mut self, now: f64, before: u32, wanted: f64) -> u32 {
        let current = f64::from(before);
        let wanted = if (wanted / current - 1.0).abs() <= TOLERANCE { current } else { wanted };
        if self.highest.is_empty() {
            // As in the HPA, the first recommendation is the current size.
            self.highest.push(now, current);
        }
        self.lowest.push(now, wanted);
        self.highest.push(now, wanted);
        let stabilized = current.max(self.lowest.min()).min(self.highest.max());
        let longest = self.up.period.max(self.down.period);
        self.changes.retain(|(at, _)| now - at < longest);
        let within = |rate: Rate, sign: f64| -> f64 {
            let recent =
                self.changes.iter().filter(|(at, by)| now - at < rate.period && by * sign > 0.0);
            recent.map(|(_, by)| *by).sum()
        };
        let before_up = current - within(self.up, 1.0);
        let highest = before_up + self.up.pods.max((before_up * self.up.percent / 100.0).ceil());
        let before_down = current - within(self.down, -1.0);
        let lowest = before_down - self.down.pods.max(before_down * self.down.percent / 100.0);
        let size = stabilized.min(highest.max(current)).max(lowest.min(current));
        let size = self.limits.clamp(size);
        if size != before {
            self.changes.push((now, f64::from(size) - current));
        }
        size
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FREE: Rate = Rate { pods: 1e9, percent: 0.0, period: 15.0 };

    #[test]
    fn a_scale_down_waits_for_its_window_and_its_rate() {
        let slow = Rate { pods: 1.0, percent: 0.0, period: 120.0 };
        let limits = Limits { min: 1, max: 20 };
        let mut behavior = Behavior::new(limits, (0.0, FREE), (60.0, slow));
        let sizes: Vec<u32> = (0..16)
            .scan(10, |size, step| {
                let wanted = if step == 0 { 10.0 } else { 2.0 };
                *size = behavior.size(f64::from(step) * 15.0, *size, wanted);
                Some(*size)
            })
            .collect();
        assert_eq!(sizes, [10, 10, 10, 10, 9, 9, 9, 9, 9, 9, 9, 9, 8, 8, 8, 8]);
    }

    #[test]
    fn a_scale_up_is_limited_by_its_rate_and_the_tolerance() {
        let rate = Rate { pods: 4.0, percent: 100.0, period: 60.0 };
        let limits = Limits { min: 1, max: 30 };
        let mut behavior = Behavior::new(limits, (0.0, rate), (300.0, FREE));
        assert_eq!(behavior.size(0.0, 3, 40.0), 7);
        assert_eq!(behavior.size(15.0, 7, 40.0), 7);
        assert_eq!(behavior.size(61.0, 7, 40.0), 14);
        assert_eq!(behavior.size(130.0, 14, 15.0), 14);
    }
}
