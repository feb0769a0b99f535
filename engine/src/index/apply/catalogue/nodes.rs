//! Nodes.

use redb::ReadableTable;

use super::super::{Applied, Group, Stop};
use super::taken;
use crate::error::{RecordKind, UniqueRule};
use crate::index::tables;
use crate::model::{NewNode, Node, NodeId, NodePatch};

impl Group<'_> {
    fn node(&self, id: NodeId) -> Result<Node, Stop> {
        self.expect_record(tables::NODES, RecordKind::Node, id.0)
    }

    fn put_node(&mut self, node: Node) -> Result<Applied, Stop> {
        self.put_record(tables::NODES, node.id.0, &node)?;
        Ok(Applied::Node(Box::new(node)))
    }

    pub(super) fn create_node(&mut self, new: &NewNode) -> Result<Applied, Stop> {
        let mut addresses = self.txn.open_table(tables::NODE_ADDRESSES)?;
        if addresses.get((new.ip.as_str(), new.index))?.is_some() {
            return Err(taken(UniqueRule::NodeAddress));
        }
        let id = NodeId(self.next_number("node")?);
        addresses.insert((new.ip.as_str(), new.index), id.0)?;
        self.put_node(Node {
            id,
            ip: new.ip.clone(),
            index: new.index,
            driver_version: new.driver_version.clone(),
            hardware_generation: new.hardware_generation,
            gpu_mem: new.gpu_mem,
            cpu_mem: new.cpu_mem,
            last_seen: None,
            current_job: new.current_job,
        })
    }

    pub(super) fn update_node(&mut self, id: NodeId, patch: &NodePatch) -> Result<Applied, Stop> {
        let before = self.node(id)?;
        let mut after = before.clone();
        let patch = patch.clone();
        after.ip = patch.ip.unwrap_or(after.ip);
        after.index = patch.index.unwrap_or(after.index);
        after.driver_version = patch.driver_version.unwrap_or(after.driver_version);
        after.hardware_generation = patch.hardware_generation.unwrap_or(after.hardware_generation);
        after.gpu_mem = patch.gpu_mem.unwrap_or(after.gpu_mem);
        after.cpu_mem = patch.cpu_mem.unwrap_or(after.cpu_mem);
        if (&after.ip, after.index) != (&before.ip, before.index) {
            let mut addresses = self.txn.open_table(tables::NODE_ADDRESSES)?;
            if addresses.get((after.ip.as_str(), after.index))?.is_some() {
                return Err(taken(UniqueRule::NodeAddress));
            }
            addresses.remove((before.ip.as_str(), before.index))?;
            addresses.insert((after.ip.as_str(), after.index), id.0)?;
        }
        self.put_node(after)
    }

    pub(super) fn delete_node(&mut self, id: NodeId) -> Result<Applied, Stop> {
        let node = self.node(id)?;
        let mut addresses = self.txn.open_table(tables::NODE_ADDRESSES)?;
        addresses.remove((node.ip.as_str(), node.index))?;
        self.remove_record(tables::NODES, id.0)?;
        Ok(Applied::Node(Box::new(node)))
    }
}
