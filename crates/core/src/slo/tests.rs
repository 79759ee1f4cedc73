//! Steps of the SLO mode.
