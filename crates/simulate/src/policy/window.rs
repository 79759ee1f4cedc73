//! Numbers of the recent past.

use std::collections::VecDeque;

/// Numbers with their times, as far back as a window reaches.
#[derive(Debug, Clone)]
pub(super) struct Window {
    length: f64,
    numbers: VecDeque<(f64, f64)>,
}

impl Window {
    /// Returns an empty window of so many seconds.
    pub(super) fn new(length: f64) -> Self {
        Self { length, numbers: VecDeque::new() }
    }

    /// Returns true if there is no number.
    pub(super) fn is_empty(&self) -> bool {
        self.numbers.is_empty()
    }

    /// Adds a number, and forgets those from before the window.
    pub(super) fn push(&mut self, now: f64, number: f64) {
        self.numbers.push_back((now, number));
        while self.numbers.pop_front_if(|(at, _)| now - *at >= self.length).is_some() {}
    }

    /// Returns the mean of the latest numbers, of so many seconds; 0 without any.
    pub(super) fn mean_of(&self, seconds: f64) -> f64 {
        let Some((now, _)) = self.numbers.back() else { return 0.0 };
        let recent = self.numbers.iter().rev().take_while(|(at, _)| now - at < seconds);
        let (sum, count) = recent.fold((0.0, 0.0), |(sum, count), (_, it)| (sum + it, count + 1.0));
        sum / count
    }

    /// Returns the mean of all numbers; 0 without any.
    pub(super) fn mean(&self) -> f64 {
        self.mean_of(self.length)
    }

    /// Returns the highest number; 0 without any.
    pub(super) fn max(&self) -> f64 {
        self.numbers.iter().map(|(_, number)| *number).fold(0.0, f64::max)
    }

    /// Returns the lowest number; infinity without any.
    pub(super) fn min(&self) -> f64 {
        self.numbers.iter().map(|(_, number)| *number).fold(f64::INFINITY, f64::min)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_window_forgets_what_is_before_it() {
        let mut window = Window::new(60.0);
        for (at, number) in [(0.0, 100.0), (30.0, 1.0), (55.0, 2.0), (60.0, 6.0)] {
            window.push(at, number);
        }
        let found = [window.mean(), window.mean_of(6.0), window.min(), window.max()];
        assert_eq!(found.map(|number| number as u32), [3, 4, 1, 6]);
        assert!(window.mean_of(6.0) > Window::new(1.0).mean());
    }
}
