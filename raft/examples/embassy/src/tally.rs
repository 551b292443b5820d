//! The application: the last value of each of 16 sensors, and a hash of everything ever applied, so
//! that members that agree on it agree on the whole history.

use nacolet_raft::{Application, LogIndex};
use serde::{Deserialize, Serialize};

/// What is replicated: a sensor says something.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct Reading {
    /// Which one of 16.
    pub sensor: u8,
    /// What it says.
    pub value: u32,
}

/// There is no such sensor.
#[derive(Clone, Copy, Debug)]
pub struct UnknownSensor;

/// The state.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct Tally {
    sensors: [u32; 16],
    /// Readings applied so far.
    pub count: u32,
    /// FNV-1a of all of them, in order.
    pub hash: u64,
}

impl Application for Tally {
    type Command = Reading;
    type Response = u32;
    type Error = UnknownSensor;

    fn apply(&mut self, _: LogIndex, reading: Reading) -> Result<u32, UnknownSensor> {
        let sensor = self.sensors.get_mut(usize::from(reading.sensor)).ok_or(UnknownSensor)?;
        *sensor = reading.value;
        self.count += 1;
        for byte in [reading.sensor].into_iter().chain(reading.value.to_le_bytes()) {
            self.hash = (self.hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        }
        Ok(self.count)
    }
}
