"""What is left when processes die, messages are lost, registries lie, clocks jump and disks fill: real processes."""
