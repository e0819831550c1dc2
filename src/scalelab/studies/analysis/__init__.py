"""What runs show: curves, laws, optima and their intervals, behind the designs' conclusions."""
