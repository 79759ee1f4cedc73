//! The highest of the sizes of a window by time.

use std::collections::VecDeque;

/// The sizes that are higher than all later ones, oldest first.
#[derive(Clone, Debug, Default)]
pub(super) struct Peak {
    sizes: VecDeque<(f64, u32)>,
}

impl Peak {
    /// Adds a size, forgets those from before the window, and returns the highest.
    pub(super) fn push(&mut self, now: f64, size: u32, window: f64) -> u32 {
        while self.sizes.pop_back_if(|(_, older)| *older <= size).is_some() {}
        self.sizes.push_back((now, size));
        while self.sizes.len() > 1
            && self.sizes.pop_front_if(|(at, _)| now - *at > window).is_some()
        {}
        self.sizes.front().map_or(size, |(_, size)| *size)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_size_is_held_for_the_window() {
        let mut peak = Peak::default();
        for (now, size, highest) in
            [(0.0, 4, 4), (10.0, 9, 9), (20.0, 5, 9), (310.0, 6, 9), (311.0, 3, 6), (700.0, 2, 2)]
        {
            assert_eq!(peak.push(now, size, 300.0), highest, "{now}");
        }
    }
}
