"""How good a reader is: distances, rates, breakdowns, calibration."""
