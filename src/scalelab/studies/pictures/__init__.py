"""The designs' figures as plain numbers, one file for each design or group of them."""
