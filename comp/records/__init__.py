"""The files that outlive a process, each as a frozen dataclass that is checked when it is read."""
