//! skeleton
/// skeleton
#[derive(Debug)]
pub struct SimulatedDisk;
/// skeleton
#[derive(Debug)]
pub struct Reached;
