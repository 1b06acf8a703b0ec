//! Room `pack`.
