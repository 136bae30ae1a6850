"""Node database layer ([MS-PST] 2.2): trees, blocks, nodes."""
