"""What a decoder does between its linears, each as one kernel: the device's code below what launches it."""
