"""A halt: nothing new is taken on, what is committed comes to its end."""
