//! Thin safe wrappers of the system calls that rustix lacks. The only unsafe code of the workspace.
#![allow(unsafe_code)]
