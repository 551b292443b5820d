//! Pages of long lists.

use serde::Serialize;

/// Which page of a list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct PageParams {
    /// Counted from 1.
    pub(crate) number: usize,
    /// Items of a page.
    pub(crate) size: usize,
}

/// `Page` of Nacos.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct PageOf<T> {
    total_count: usize,
    page_number: usize,
    pages_available: usize,
    page_items: Vec<T>,
}

impl<T> PageOf<T> {
    pub(crate) fn new(
        total_count: usize,
        page_number: usize,
        pages_available: usize,
        items: impl IntoIterator<Item = T>,
    ) -> Self {
        let page_items = items.into_iter().collect();
        Self { total_count, page_number, pages_available, page_items }
    }

    /// The page that was asked for.
    pub(crate) fn asked(
        total: usize,
        asked: PageParams,
        items: impl IntoIterator<Item = T>,
    ) -> Self {
        Self::new(total, asked.number, total.div_ceil(asked.size), items)
    }
}

/// One page of `all`, and how many there are in all.
pub(crate) fn page<T>(all: impl Iterator<Item = T>, page: PageParams) -> (usize, Vec<T>) {
    let first = (page.number - 1).saturating_mul(page.size);
    let mut total = 0;
    let mut items = Vec::new();
    for item in all {
        if total >= first && items.len() < page.size {
            items.push(item);
        }
        total += 1;
    }
    (total, items)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_end_where_the_list_ends() {
        let check = |number, size, expected: &[usize]| {
            assert_eq!(page(0..5, PageParams { number, size }), (5, expected.to_vec()));
        };
        check(1, 2, &[0, 1]);
        check(3, 2, &[4]);
        check(4, 2, &[]);
        check(usize::MAX, usize::MAX, &[]);
        check(1, 100, &[0, 1, 2, 3, 4]);
    }
}
