"""Studies: which way of learning is better at how many labels, on data that nothing was chosen on."""
