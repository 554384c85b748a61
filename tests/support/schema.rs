//! A validator for the part of JSON Schema that docs/summary.schema.json uses, so that tests need no other tool.

use serde_json::Value;

/// Checks `value` against `schema`; the error names the path of the first violation.
pub fn validate(schema: &Value, value: &Value) -> Result<(), String> {
    check(schema, schema, value, "$")
}

fn check(root: &Value, schema: &Value, value: &Value, at: &str) -> Result<(), String> {
    if let Some(reference) = schema.get("$ref").and_then(Value::as_str) {
        let pointer = reference.strip_prefix('#').ok_or_else(|| format!("{at}: cannot follow {reference}"))?;
        let target = root.pointer(pointer).ok_or_else(|| format!("{at}: no {reference}"))?;
        return check(root, target, value, at);
    }
    if let Some(options) = schema.get("oneOf").and_then(Value::as_array) {
        let results: Vec<_> = options.iter().map(|option| check(root, option, value, at)).collect();
        return match results.iter().filter(|r| r.is_ok()).count() {
            1 => Ok(()),
            n => Err(format!("{at}: {n} alternatives match: {results:?}")),
        };
    }
    if schema.get("const").is_some_and(|constant| constant != value) {
        return Err(format!("{at}: {value} is not {}", schema["const"]));
    }
    if schema.get("enum").and_then(Value::as_array).is_some_and(|list| !list.contains(value)) {
        return Err(format!("{at}: {value} is not one of {}", schema["enum"]));
    }
    if let Some(minimum) = schema.get("minimum").and_then(Value::as_f64)
        && value.as_f64().is_some_and(|v| v < minimum)
    {
        return Err(format!("{at}: {value} is below {minimum}"));
    }
    check_type(schema, value, at)?;
    match value {
        Value::Object(_) => check_object(root, schema, value, at),
        Value::Array(items) => match schema.get("items") {
            Some(item) => items.iter().enumerate().try_for_each(|(i, v)| check(root, item, v, &format!("{at}[{i}]"))),
            None => Ok(()),
        },
        _ => Ok(()),
    }
}

fn check_type(schema: &Value, value: &Value, at: &str) -> Result<(), String> {
    let Some(wanted) = schema.get("type") else { return Ok(()) };
    let is = |name: &str| match name {
        "integer" => value.is_u64() || value.is_i64(),
        "number" => value.is_number(),
        "string" => value.is_string(),
        "boolean" => value.is_boolean(),
        "null" => value.is_null(),
        "array" => value.is_array(),
        "object" => value.is_object(),
        _ => false,
    };
    let ok = match wanted {
        Value::String(name) => is(name),
        Value::Array(names) => names.iter().filter_map(Value::as_str).any(is),
        _ => false,
    };
    if ok { Ok(()) } else { Err(format!("{at}: {value} is not of type {wanted}")) }
}

fn check_object(root: &Value, schema: &Value, value: &Value, at: &str) -> Result<(), String> {
    let object = value.as_object().ok_or("not an object")?;
    for name in schema.get("required").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str) {
        if !object.contains_key(name) {
            return Err(format!("{at}: `{name}` is missing"));
        }
    }
    for (name, item) in object {
        let place = format!("{at}.{name}");
        match (schema.pointer(&format!("/properties/{name}")), schema.get("additionalProperties")) {
            (Some(property), _) => check(root, property, item, &place)?,
            (None, Some(Value::Bool(false))) => return Err(format!("{place} is not in the schema")),
            (None, Some(other)) => check(root, other, item, &place)?,
            (None, None) => {}
        }
    }
    Ok(())
}
