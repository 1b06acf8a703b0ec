//! Tries each kernel primitive in use.
