//! `preon policy`: precision policies.

use super::{args, out};
use crate::diag::Result;
use crate::policy::{Assignment, Setting};
use crate::report::table;
use crate::{model, policy};

/// What to do.
#[derive(Debug, clap::Subcommand)]
pub enum Verb {
    /// The built-in policies
    List,
    /// One policy as TOML, every key written out
    Show {
        /// Name or TOML file
        policy: String,
    },
    /// Check a policy; with a model, list what each rule decides for each tensor
    Check {
        /// Name or TOML file
        policy: String,
        /// builtin:NAME or a Hugging Face folder
        #[arg(long, value_name = "MODEL")]
        model: Option<String>,
        #[command(flatten)]
        inputs: args::Inputs,
    },
}

/// Does it.
pub fn run(verb: &Verb) -> Result<()> {
    match verb {
        Verb::List => {
            let rows: Vec<Vec<String>> =
                policy::built_ins().into_iter().map(|policy| vec![policy.name, policy.doc]).collect();
            out::data(&table::render(&["policy", ""], &rows, &[]))
        }
        Verb::Show { policy } => out::data(&policy::load(policy)?.resolved()),
        Verb::Check { policy: name, model: None, .. } => {
            policy::load(name)?;
            out::data(&format!("{name}: ok\n"))
        }
        Verb::Check { policy: name, model: Some(model), inputs } => {
            let chosen = policy::load(name)?;
            let prepared = model::load(model)?.prepare(&inputs.get()?)?;
            let plan = policy::plan(&prepared.graph, &chosen)?;
            let row = |a: &Assignment| {
                let setting = match a.setting {
                    Setting::Type(ty) => ty.to_string(),
                    Setting::Accumulator(accumulator) => accumulator.name(),
                    Setting::Store(store) => store.name().to_owned(),
                    Setting::Recipe(recipe) => {
                        let keys = recipe.keys().into_iter().map(|(key, word)| format!("{key} {word}"));
                        keys.collect::<Vec<_>>().join(", ")
                    }
                };
                let rule = chosen.rules.get(a.rule).map_or("", |rule| rule.pattern.as_str());
                let place = format!("line {}: {rule}", chosen.line(a.rule));
                vec![a.node.clone(), a.value.clone(), a.role.name().to_string(), setting, place]
            };
            let rows: Vec<Vec<String>> = plan.iter().map(row).collect();
            out::data(&table::render(&["node", "tensor", "role", "held as", "rule"], &rows, &[]))?;
            policy::notes(&plan).iter().try_for_each(|note| out::data(&format!("note: {note}\n")))
        }
    }
}
