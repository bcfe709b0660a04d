"""What may be learned from, by whom and until when: admission, history, leases, alarms,
feedback."""
