//! The parts of a commit and of a restore that reach the engine, without a topology around them.
