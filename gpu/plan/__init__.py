"""Plans on torch tensors: programs over registers, fused passes, graphs, several processes."""
