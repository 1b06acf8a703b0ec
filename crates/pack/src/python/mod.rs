//! Python: from pins to layers.

mod entry_points;
mod environment;
mod marshal;
mod name;
mod pin;
mod pyc;
mod pylock;
mod record;
mod requirements;
mod stage;
mod tags;
#[cfg(test)]
mod test_wheel;
mod uv_lock;
mod wheel;
mod zip;
#[cfg(test)]
mod zip_writer;
