"""The engines that policy may run on, all behind `policy.engine.PolicyEngine`, and what they share."""
