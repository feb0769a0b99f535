//! skeleton
/// skeleton
#[derive(Debug)]
pub struct RealDisk;
