//! Comma-separated tables of runs.

use crate::vpu::summary::RunSummary;

/// A shape as a field: `256x64`.
pub fn shape(shape: &[usize]) -> String {
    shape.iter().map(ToString::to_string).collect::<Vec<_>>().join("x")
}

/// A number that may be absent as a field.
pub fn number<T: ToString>(number: Option<T>) -> String {
    number.map_or(String::new(), |number| number.to_string())
}

/// One field, quoted where it must be (RFC 4180).
pub fn field(text: &str) -> String {
    if text.contains([',', '"', '\n', '\r']) { format!("\"{}\"", text.replace('"', "\"\"")) } else { text.to_string() }
}

/// A table from its header and rows.
pub fn table(header: &str, rows: impl IntoIterator<Item = Vec<String>>) -> String {
    let mut out = format!("{header}\n");
    for row in rows {
        let fields: Vec<String> = row.iter().map(|text| field(text)).collect();
        out += &fields.join(",");
        out.push('\n');
    }
    out
}

/// Fields of a row from anything that prints.
macro_rules! row {
    ($run:expr; $($value:expr),* $(,)?) => { vec![$run.machine.clone(), $run.policy.clone(), $($value.to_string()),*] };
}

/// One row a run: what `-f csv` prints.
pub fn runs(runs: &[RunSummary]) -> String {
    let header = "machine,policy,model,tokens,padding,cycles,time_ns,energy_pj,arithmetic_pj,movement_pj,leakage_pj,\
        dram_read_bytes,dram_write_bytes,sram_read_bytes,sram_write_bytes,weight_bytes,peak_sram_bytes,\
        macs_dense,macs_executed,macs_skipped,quality_metric,quality,bit_exact,nodes,mismatches,bound_by";
    let rows = runs.iter().map(|run| {
        let (energy, bytes, macs) = (&run.energy_pj, &run.bytes, &run.macs);
        let check =
            run.check.as_ref().map(|c| (c.bit_exact.to_string(), c.nodes.to_string(), c.mismatches.to_string()));
        let (exact, nodes, mismatches) = check.unwrap_or_default();
        row!(run; run.model, run.tokens, run.padding, run.cycles, run.time_ns, energy.total, energy.arithmetic,
            energy.movement, energy.leakage, bytes.dram_read, bytes.dram_write, bytes.sram_read, bytes.sram_write,
            bytes.weights, bytes.peak_sram, macs.dense, macs.executed, macs.skipped, run.quality.metric,
            run.quality.value, exact, nodes, mismatches, run.bound_by.what)
    });
    table(header, rows)
}

/// One row a step.
pub fn layers(runs: &[RunSummary]) -> String {
    let header =
        "machine,policy,layer,kernel,formats,cycles,arithmetic_pj,movement_pj,leakage_pj,macs,dram_bytes,bound_by";
    let rows = runs.iter().flat_map(|run| {
        run.layers.iter().map(move |l| {
            let e = &l.energy_pj;
            row!(run; l.name, l.kernel, l.formats, l.cycles, e.arithmetic, e.movement, e.leakage, l.macs, l.dram_bytes, l.bound_by)
        })
    });
    table(header, rows)
}

/// One row a component, then one row a priced operation.
pub fn energy(runs: &[RunSummary]) -> String {
    let header = "machine,policy,row,component,formats,count,pj_each,pj_total,price";
    let rows = runs.iter().flat_map(|run| {
        let components = run.energy_by_component.iter().map(move |c| {
            let part = format!("{:?}", c.part).to_lowercase();
            row!(run; part, c.component, "", "", "", c.pj, "")
        });
        let ops = run.ops.iter().map(
            move |o| row!(run; format!("op {}", o.kind), o.unit, o.formats, o.count, o.pj_each, o.pj_total, o.key),
        );
        components.chain(ops)
    });
    table(header, rows)
}

/// Where each joule comes from: one row a price, its count, what it made at the three ends, and how far to trust it.
pub fn prices(runs: &[RunSummary]) -> String {
    let header = "machine,policy,price,part,count,unit,low_pj_each,pj_each,high_pj_each,low_pj,pj,high_pj,share,scope,trust,source";
    let rows = runs.iter().flat_map(|run| {
        run.joules.iter().flat_map(|joules| &joules.prices).map(move |p| {
            let part = format!("{:?}", p.part).to_lowercase();
            let (each, all) = (p.each_pj, p.pj);
            row!(run; p.key, part, p.count, p.unit, each.low, each.typical, each.high, all.low, all.typical, all.high,
                p.share, p.scope, p.trust, p.source)
        })
    });
    table(header, rows)
}

/// Traffic and weight tensors.
pub fn memory(runs: &[RunSummary]) -> String {
    let header = "machine,policy,what,format,rows,columns,bits,scaling,scales,bytes";
    let rows = runs.iter().flat_map(|run| {
        let b = &run.bytes;
        let sizes = [
            ("dram_read", b.dram_read),
            ("dram_write", b.dram_write),
            ("sram_read", b.sram_read),
            ("sram_write", b.sram_write),
            ("peak_sram", b.peak_sram),
            ("weights", b.weights),
        ];
        let sizes = sizes.into_iter().map(move |(name, bytes)| row!(run; name, "", "", "", "", "", "", bytes));
        let tensors = run
            .weights
            .iter()
            .map(move |w| row!(run; w.name, w.format, w.rows, w.columns, w.bits, w.scaling, w.scales, w.bytes));
        sizes.chain(tensors)
    });
    table(header, rows)
}

/// One row a unit and state.
pub fn stalls(runs: &[RunSummary]) -> String {
    let rows = runs.iter().flat_map(|run| {
        run.units.iter().flat_map(move |unit| {
            let busy = std::iter::once(row!(run; unit.unit, "busy", unit.busy_cycles));
            let stalled = unit.stall_cycles.iter().map(move |(cause, cycles)| row!(run; unit.unit, cause, cycles));
            busy.chain(stalled).chain(std::iter::once(row!(run; unit.unit, "idle", unit.idle_cycles)))
        })
    });
    table("machine,policy,unit,state,cycles", rows)
}

/// One row a compared node.
pub fn check(runs: &[RunSummary]) -> String {
    let rows = runs.iter().flat_map(|run| {
        run.check.iter().flat_map(|check| &check.rows).map(move |r| {
            let sqnr = r.sqnr_db.map_or(String::new(), |v| v.to_string());
            row!(run; r.node, r.op, r.format, r.elements, r.different, sqnr)
        })
    });
    table("machine,policy,node,op,format,elements,different,sqnr_db", rows)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vpu::summary::sample;

    #[test]
    fn every_row_has_as_many_fields_as_its_header() {
        let all = sample::two_machines();
        for (name, text) in [
            ("runs", runs(&all)),
            ("layers", layers(&all)),
            ("energy", energy(&all)),
            ("prices", prices(&all)),
            ("memory", memory(&all)),
            ("stalls", stalls(&all)),
            ("check", check(&all)),
        ] {
            let mut lines = text.lines();
            let columns = lines.next().unwrap().split(',').count();
            assert!(text.lines().count() > 18, "{name}");
            for line in lines {
                assert_eq!(line.split(',').count(), columns, "{name}: {line}");
            }
        }
    }

    #[test]
    fn fields_are_quoted_where_they_must_be() {
        assert_eq!(field("a,b \"c\""), "\"a,b \"\"c\"\"\"");
        assert_eq!(field("plain"), "plain");
    }
}
