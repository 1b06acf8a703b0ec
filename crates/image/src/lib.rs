//! Room `image`.
