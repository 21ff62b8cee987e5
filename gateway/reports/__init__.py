"""What Parties report of their units: their actions, and the corresponding adjustments that follow from them."""
