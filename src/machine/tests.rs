//! Tests of machine files: built-in ones, merging, every error as people read it, closed forms of the cost functions.

use super::*;

#[test]
fn built_in_machines_load_and_survive_being_written_out() {
    for name in builtin() {
        let machine = load(name).unwrap_or_else(|e| panic!("{name}: {}", e.render(false)));
        assert_eq!(machine.name, name);
        let text = machine.resolved_toml();
        let again = parse("resolved.toml", &text).unwrap_or_else(|e| panic!("{}", e.render(false)));
        assert_eq!(again.resolved_toml(), text);
        assert!(diff(&machine, &again).is_empty());
    }
}
