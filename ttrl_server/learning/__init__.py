"""The gateway's part of learning: admission, history, leases, alarms, feedback."""
