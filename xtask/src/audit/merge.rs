//! Several sorted streams walked as one, a row of each in memory.

use futures::StreamExt as _;
use futures::stream::BoxStream;

/// A query's rows as they come.
pub(super) type Rows<'a, T> = BoxStream<'a, Result<T, sqlx::Error>>;

/// Sorted streams, each with its name, and the next row of each.
pub(super) struct Merge<'a, T> {
    streams: Vec<(i16, Rows<'a, T>, Option<T>)>,
}

impl<'a, T> Merge<'a, T> {
    pub(super) async fn of(streams: impl IntoIterator<Item = (i16, Rows<'a, T>)>) -> Result<Self, sqlx::Error> {
        let mut opened = Vec::new();
        for (name, mut rows) in streams {
            let head = rows.next().await.transpose()?;
            opened.push((name, rows, head));
        }
        Ok(Self { streams: opened })
    }

    /// The rows of the least key that any stream still has, at most one of each stream. Every stream must rise.
    pub(super) async fn next<K: Ord>(&mut self, key: impl Fn(&T) -> &K) -> Result<Vec<(i16, T)>, sqlx::Error> {
        let heads =
            self.streams.iter().enumerate().filter_map(|(index, (_, _, head))| Some((index, key(head.as_ref()?))));
        let Some((_, least)) = heads.clone().min_by(|(_, one), (_, other)| one.cmp(other)) else {
            return Ok(Vec::new());
        };
        let with_it: Vec<usize> = heads.filter(|(_, head)| *head == least).map(|(index, _)| index).collect();
        let mut least = Vec::with_capacity(with_it.len());
        for index in with_it {
            let (name, rows, head) = &mut self.streams[index];
            let next = rows.next().await.transpose()?;
            least.extend(std::mem::replace(head, next).map(|row| (*name, row)));
        }
        Ok(least)
    }
}

impl<T> std::fmt::Debug for Merge<'_, T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Merge").field("streams", &self.streams.len()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use futures::stream;

    use super::*;

    async fn merged(streams: &[&[u8]]) -> Vec<Vec<(i16, u8)>> {
        let streams =
            streams.iter().zip(1..).map(|(rows, name)| (name, stream::iter(rows.iter().map(|row| Ok(*row))).boxed()));
        let mut merge = Merge::of(streams).await.unwrap();
        let mut all = Vec::new();
        loop {
            let next = merge.next(|row| row).await.unwrap();
            if next.is_empty() {
                return all;
            }
            all.push(next);
        }
    }

    #[tokio::test]
    async fn rows_of_one_key_come_together_and_none_is_left_out() {
        let together = merged(&[&[1, 3, 5], &[], &[3, 4, 5]]).await;
        assert_eq!(together, [vec![(1, 1)], vec![(1, 3), (3, 3)], vec![(3, 4)], vec![(1, 5), (3, 5)]]);
        assert!(merged(&[&[], &[]]).await.is_empty());
    }
}
