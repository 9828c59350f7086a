"""What can be concluded from measurements and verdicts: arrays in, arrays out, no knowledge of suites."""
