//! Durations, sizes and rates as people write them: `0.2`, `200ms`, `10M`.
