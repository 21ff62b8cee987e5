"""What is left when processes die, messages are lost, registries lie, clocks jump, disks fill: real processes, killed."""
