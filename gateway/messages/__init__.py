"""Messages in and out: signed bytes are stored before they are sent, and kept as they came."""
