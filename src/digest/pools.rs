//! Two rayon pools: what somebody waits for, and what can wait.

/// The foreground pool (one thread per core) and the background pool (half as many).
/// Never rayon's global pool; a panicking job is reported and costs only itself.
pub struct Pools {
    foreground: rayon::ThreadPool,
    background: rayon::ThreadPool,
}

impl Pools {
    /// Starts the threads. `cores`: how many cores to plan for, at least 1.
    ///
    /// # Errors
    /// The threads cannot be started.
    pub fn start(cores: usize) -> Result<Pools, rayon::ThreadPoolBuildError> {
        let _ = cores;
        todo!()
    }

    /// Runs a job that somebody waits for.
    pub fn foreground(&self, job: impl FnOnce() + Send + 'static) {
        self.foreground.spawn(job);
    }

    /// Runs a job that can wait.
    pub fn background(&self, job: impl FnOnce() + Send + 'static) {
        self.background.spawn(job);
    }
}
