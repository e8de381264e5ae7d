//! A vector that is cheap to copy and to change one place of: what a writer changes, readers of older copies keep.

use std::sync::Arc;

/// Entries a chunk: a change copies one chunk and the list of chunks, about equally long at 16,000 entries.
const CHUNK: usize = 128;

/// A growable vector in chunks that copies share.
#[derive(Debug, Clone)]
pub(crate) struct Chunked<T> {
    chunks: Arc<Vec<Arc<Vec<T>>>>,
}

impl<T: Clone> Chunked<T> {
    pub(crate) fn new() -> Self {
        Chunked { chunks: Arc::new(Vec::new()) }
    }

    pub(crate) fn get(&self, index: usize) -> Option<&T> {
        self.chunks.get(index / CHUNK)?.get(index % CHUNK)
    }

    /// One past the highest index that was set.
    pub(crate) fn len(&self) -> usize {
        self.chunks.last().map_or(0, |last| (self.chunks.len() - 1) * CHUNK + last.len())
    }

    /// Sets an entry; places between the end and `index` are filled with `vacant`.
    pub(crate) fn set(&mut self, index: usize, value: T, vacant: &T) {
        let chunks = Arc::make_mut(&mut self.chunks);
        while chunks.len() <= index / CHUNK {
            if let Some(last) = chunks.last_mut() {
                Arc::make_mut(last).resize(CHUNK, vacant.clone());
            }
            chunks.push(Arc::new(Vec::new()));
        }
        let chunk = Arc::make_mut(&mut chunks[index / CHUNK]);
        if chunk.len() <= index % CHUNK {
            chunk.resize(index % CHUNK + 1, vacant.clone());
        }
        chunk[index % CHUNK] = value;
    }

    pub(crate) fn get_mut(&mut self, index: usize) -> Option<&mut T> {
        if index >= self.len() {
            return None;
        }
        let chunk = Arc::make_mut(&mut self.chunks).get_mut(index / CHUNK)?;
        Arc::make_mut(chunk).get_mut(index % CHUNK)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (usize, &T)> {
        self.chunks.iter().flat_map(|chunk| chunk.iter()).enumerate()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_copy_keeps_what_the_original_changes() {
        let mut now = Chunked::new();
        now.set(300, 1, &0);
        let before = now.clone();
        now.set(300, 2, &0);
        *now.get_mut(5).unwrap() = 7;
        assert_eq!((before.get(300), before.get(5), before.get(301)), (Some(&1), Some(&0), None));
        assert_eq!((now.get(300), now.get(5), now.len()), (Some(&2), Some(&7), 301));
        assert_eq!(now.iter().filter(|(_, value)| **value != 0).map(|(at, _)| at).collect::<Vec<_>>(), [5, 300]);
    }
}
