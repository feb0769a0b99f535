//! Shapes of nodes.

use granary_engine::model::{NewNode, Node, NodePatch};
use serde::Serialize;
use utoipa::ToSchema;

use crate::http::error::ApiError;
use crate::http::fields::{Fields, Need, Text};
use crate::http::wire::Time;

/// A node.
#[derive(Serialize, ToSchema)]
#[schema(as = Node)]
pub(crate) struct NodeShape<'a> {
    #[schema(examples(1))]
    pk: u64,
    #[schema(examples("10.0.0.7"))]
    ip: &'a str,
    index: i64,
    #[schema(required = true, examples("550.54"))]
    driver_version: Option<&'a str>,
    #[schema(required = true)]
    hardware_generation: Option<i64>,
    #[schema(required = true)]
    gpu_mem: Option<i64>,
    cpu_mem: i64,
    /// When it last sent a request.
    #[schema(required = true)]
    last_seen: Option<Time>,
    #[schema(required = true)]
    current_job: Option<i64>,
}

/// The fields of a new or wholly changed node. Fields that can only be read are passed over.
#[derive(ToSchema)]
#[expect(dead_code, reason = "describes what `read_node` reads")]
pub(crate) struct NodeFields {
    /// Blanks at both ends are cut. Address and index together are unique.
    #[schema(min_length = 1, max_length = 39, examples("10.0.0.7"))]
    ip: String,
    /// Which of several nodes at the address it is.
    #[schema(examples(0))]
    index: i64,
    #[schema(min_length = 1, max_length = 16, examples("550.54"))]
    driver_version: Option<String>,
    hardware_generation: Option<i64>,
    gpu_mem: Option<i64>,
    #[schema(examples(64))]
    cpu_mem: i64,
}

/// The fields of a node that change; what is left out stays as it is.
#[derive(ToSchema)]
#[expect(dead_code, reason = "describes what `read_node_patch` reads")]
pub(crate) struct NodeChange {
    #[schema(required = false, min_length = 1, max_length = 39)]
    ip: String,
    #[schema(required = false)]
    index: i64,
    #[schema(min_length = 1, max_length = 16, examples("550.54"))]
    driver_version: Option<String>,
    hardware_generation: Option<i64>,
    gpu_mem: Option<i64>,
    #[schema(required = false, examples(128))]
    cpu_mem: i64,
}

impl<'a> From<&'a Node> for NodeShape<'a> {
    fn from(node: &'a Node) -> Self {
        Self {
            pk: node.id.0,
            ip: &node.ip,
            index: node.index,
            driver_version: node.driver_version.as_deref(),
            hardware_generation: node.hardware_generation,
            gpu_mem: node.gpu_mem,
            cpu_mem: node.cpu_mem,
            last_seen: node.last_seen.map(Time),
            current_job: node.current_job,
        }
    }
}

/// Reads the body of a node's update (address and memory needed) or partial update (nothing).
pub(crate) fn read_node_patch(mut fields: Fields, need: Need) -> Result<NodePatch, ApiError> {
    let ip = fields.text("ip", need, Text::upto(39));
    let index = fields.integer("index", need);
    // What is left out stays; what is sent as null is emptied.
    let has_version = fields.has("driver_version");
    let driver_version = fields.nullable_text("driver_version", Text::upto(16));
    let has_generation = fields.has("hardware_generation");
    let hardware_generation = fields.nullable_integer("hardware_generation");
    let has_memory = fields.has("gpu_mem");
    let gpu_mem = fields.nullable_integer("gpu_mem");
    let cpu_mem = fields.integer("cpu_mem", need);
    fields.check()?;
    Ok(NodePatch {
        ip,
        index,
        driver_version: has_version.then_some(driver_version),
        hardware_generation: has_generation.then_some(hardware_generation),
        gpu_mem: has_memory.then_some(gpu_mem),
        cpu_mem,
    })
}

/// Reads the body of a node's create.
pub(crate) fn read_node(fields: Fields) -> Result<NewNode, ApiError> {
    let patch = read_node_patch(fields, Need::Required)?;
    Ok(NewNode {
        ip: patch.ip.unwrap_or_default(),
        index: patch.index.unwrap_or_default(),
        driver_version: patch.driver_version.flatten(),
        hardware_generation: patch.hardware_generation.flatten(),
        gpu_mem: patch.gpu_mem.flatten(),
        cpu_mem: patch.cpu_mem.unwrap_or_default(),
        current_job: None,
    })
}
