"""What both apps stand on and neither owns."""
