//! Journal
