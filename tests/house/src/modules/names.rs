//! The names that one item defines and those that it mentions.

use proc_macro2::{TokenStream, TokenTree};
use syn::{
    Attribute, Expr, ExprLit, Field, ImplItem, Item, ItemUse, Lit, Macro, Meta, Path, UseTree,
    Variant, VisRestricted, Visibility,
    punctuated::Punctuated,
    spanned::Spanned,
    visit::{self, Visit},
};

/// A path as it is written.
#[derive(Clone, Debug)]
pub(super) struct Mention {
    pub(super) segments: Vec<String>,
    pub(super) line: usize,
    pub(super) binding: Binding,
    pub(super) public: bool,
}

/// The names that a path brings into its module.
#[derive(Clone, Debug)]
pub(super) enum Binding {
    /// None: the path is an expression, a type or a macro.
    None,
    /// One, by `use`.
    Name(String),
    /// All of a module, by `use module::*`.
    Glob,
}

/// Returns true for an item that is compiled only for tests.
pub(super) fn is_test_item(item: &Item) -> bool {
    is_test(match item {
        Item::Const(it) => &it.attrs,
        Item::Enum(it) => &it.attrs,
        Item::ExternCrate(it) => &it.attrs,
        Item::Fn(it) => &it.attrs,
        Item::ForeignMod(it) => &it.attrs,
        Item::Impl(it) => &it.attrs,
        Item::Macro(it) => &it.attrs,
        Item::Mod(it) => &it.attrs,
        Item::Static(it) => &it.attrs,
        Item::Struct(it) => &it.attrs,
        Item::Trait(it) => &it.attrs,
        Item::TraitAlias(it) => &it.attrs,
        Item::Type(it) => &it.attrs,
        Item::Union(it) => &it.attrs,
        Item::Use(it) => &it.attrs,
        _ => &[],
    })
}

/// Returns the name that an item defines in its module, if it has one.
pub(super) fn defined(item: &Item) -> Option<String> {
    let ident = match item {
        Item::Const(it) => &it.ident,
        Item::Enum(it) => &it.ident,
        Item::Fn(it) => &it.sig.ident,
        Item::Macro(it) => it.ident.as_ref()?,
        Item::Static(it) => &it.ident,
        Item::Struct(it) => &it.ident,
        Item::Trait(it) => &it.ident,
        Item::TraitAlias(it) => &it.ident,
        Item::Type(it) => &it.ident,
        Item::Union(it) => &it.ident,
        _ => return None,
    };
    Some(ident.to_string())
}

/// Adds every path that the item mentions outside of code for tests.
pub(super) fn mentioned(item: &Item, mentions: &mut Vec<Mention>) {
    Paths(mentions).visit_item(item);
}

fn is_test(attributes: &[Attribute]) -> bool {
    attributes.iter().any(|attribute| {
        attribute.path().is_ident("test")
            || (attribute.path().is_ident("cfg")
                && attribute.parse_args::<Meta>().is_ok_and(|condition| needs_test(&condition)))
    })
}

/// Returns true for `test` and for an `all(..)` with it.
fn needs_test(condition: &Meta) -> bool {
    let Meta::List(list) = condition else { return condition.path().is_ident("test") };
    let parts = list.parse_args_with(Punctuated::<Meta, syn::Token![,]>::parse_terminated);
    list.path.is_ident("all") && parts.is_ok_and(|parts| parts.iter().any(needs_test))
}

struct Paths<'a>(&'a mut Vec<Mention>);

impl Paths<'_> {
    fn add(&mut self, segments: Vec<String>, line: usize) {
        self.0.push(Mention { segments, line, binding: Binding::None, public: false });
    }

    fn add_tree(&mut self, before: &[String], tree: &UseTree, public: bool) {
        let with = |name: &syn::Ident| [before, &[name.to_string()]].concat();
        let (segments, binding) = match tree {
            UseTree::Path(it) => return self.add_tree(&with(&it.ident), &it.tree, public),
            UseTree::Group(it) => {
                return it.items.iter().for_each(|tree| self.add_tree(before, tree, public));
            }
            UseTree::Glob(_) => (before.to_vec(), Binding::Glob),
            UseTree::Name(it) if it.ident == "self" && !before.is_empty() => {
                let name = before.last().cloned().unwrap_or_default();
                (before.to_vec(), Binding::Name(name))
            }
            UseTree::Name(it) => (with(&it.ident), Binding::Name(it.ident.to_string())),
            UseTree::Rename(it) => (with(&it.ident), Binding::Name(it.rename.to_string())),
        };
        let line = tree.span().start().line;
        self.0.push(Mention { segments, line, binding, public });
    }

    /// Finds paths among tokens that are not parsed, such as those of a macro call.
    fn add_tokens(&mut self, tokens: TokenStream) {
        let tokens: Vec<_> = tokens.into_iter().collect();
        let is_colon = |index: usize| match tokens.get(index) {
            Some(TokenTree::Punct(it)) => it.as_char() == ':',
            _ => false,
        };
        let mut index = 0;
        while index < tokens.len() {
            match &tokens[index] {
                TokenTree::Group(group) => self.add_tokens(group.stream()),
                TokenTree::Literal(literal) => self.add_text(&literal.to_string(), literal.span()),
                TokenTree::Ident(first) => {
                    let mut segments = vec![first.to_string()];
                    while is_colon(index + 1)
                        && is_colon(index + 2)
                        && let Some(TokenTree::Ident(next)) = tokens.get(index + 3)
                    {
                        segments.push(next.to_string());
                        index += 3;
                    }
                    if segments.len() > 1 {
                        self.add(segments, first.span().start().line);
                    }
                }
                TokenTree::Punct(_) => {}
            }
            index += 1;
        }
    }

    /// Finds a path in a string, as in `#[serde(with = "crate::time")]`.
    fn add_text(&mut self, literal: &str, span: proc_macro2::Span) {
        let text = literal.trim_matches('"');
        if ["crate::", "super::", "self::"].iter().any(|start| text.starts_with(start))
            && let Ok(path) = syn::parse_str::<Path>(text)
        {
            self.add(segments_of(&path), span.start().line);
        }
    }
}

impl<'ast> Visit<'ast> for Paths<'_> {
    fn visit_item(&mut self, item: &'ast Item) {
        if !is_test_item(item) {
            visit::visit_item(self, item);
        }
    }

    fn visit_impl_item(&mut self, item: &'ast ImplItem) {
        let attributes: &[Attribute] = match item {
            ImplItem::Const(it) => &it.attrs,
            ImplItem::Fn(it) => &it.attrs,
            ImplItem::Type(it) => &it.attrs,
            _ => &[],
        };
        if !is_test(attributes) {
            visit::visit_impl_item(self, item);
        }
    }

    fn visit_field(&mut self, field: &'ast Field) {
        if !is_test(&field.attrs) {
            visit::visit_field(self, field);
        }
    }

    fn visit_variant(&mut self, variant: &'ast Variant) {
        if !is_test(&variant.attrs) {
            visit::visit_variant(self, variant);
        }
    }

    fn visit_item_use(&mut self, item: &'ast ItemUse) {
        if item.leading_colon.is_none() {
            self.add_tree(&[], &item.tree, !matches!(item.vis, Visibility::Inherited));
        }
    }

    fn visit_path(&mut self, path: &'ast Path) {
        if path.leading_colon.is_none() {
            self.add(segments_of(path), path.span().start().line);
        }
        visit::visit_path(self, path);
    }

    /// A visibility such as `pub(in crate::a)` is no import.
    fn visit_vis_restricted(&mut self, _: &'ast VisRestricted) {}

    fn visit_attribute(&mut self, attribute: &'ast Attribute) {
        match &attribute.meta {
            Meta::List(list) => self.add_tokens(list.tokens.clone()),
            Meta::NameValue(pair) if !pair.path.is_ident("doc") => {
                if let Expr::Lit(ExprLit { lit: Lit::Str(text), .. }) = &pair.value {
                    self.add_text(&text.value(), text.span());
                }
            }
            _ => {}
        }
    }

    fn visit_macro(&mut self, call: &'ast Macro) {
        visit::visit_macro(self, call);
        self.add_tokens(call.tokens.clone());
    }
}

fn segments_of(path: &Path) -> Vec<String> {
    path.segments.iter().map(|segment| segment.ident.to_string()).collect()
}
