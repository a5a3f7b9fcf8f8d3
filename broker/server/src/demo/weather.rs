//! A weather server that always tells the same for the same city.

use std::time::Duration;

use async_trait::async_trait;
use serde_json::{Value, json};

use super::server::{Asked, DemoServer, ToolOutcome};

const STEPS: [&str; 3] = ["looking for the city", "asking the satellites", "writing the forecast"];
/// Long enough to be seen in a waterfall.
const STEP_TIME: Duration = Duration::from_millis(40);
const DAYS: u32 = 3;
const SKIES: [&str; 6] = ["sunny", "cloudy", "light rain", "heavy rain", "windy", "fog"];

/// Server of one tool: `get_forecast`.
pub(crate) struct Weather;

#[async_trait]
impl DemoServer for Weather {
    fn name(&self) -> &'static str {
        "spanwire-demo-weather"
    }

    fn instructions(&self) -> &'static str {
        "A forecast for any city. It is made up, and always the same for the same city."
    }

    fn tools(&self) -> Value {
        let day = json!({
            "type": "object",
            "properties": {
                "day": { "type": "integer", "description": "Days from today" },
                "sky": { "type": "string", "enum": SKIES },
                "low_celsius": { "type": "integer" },
                "high_celsius": { "type": "integer" },
            },
            "required": ["day", "sky", "low_celsius", "high_celsius"],
        });
        json!([{
            "name": "get_forecast",
            "title": "Weather forecast",
            "description": "The weather of the next three days in a city.",
            "inputSchema": {
                "type": "object",
                "properties": { "city": { "type": "string", "description": "Name of the city" } },
                "required": ["city"],
                "additionalProperties": false,
            },
            "outputSchema": {
                "type": "object",
                "properties": { "city": { "type": "string" }, "days": { "type": "array", "items": day } },
                "required": ["city", "days"],
            },
            "annotations": { "readOnlyHint": true, "idempotentHint": true, "openWorldHint": false },
        }])
    }

    async fn call(&self, tool: &str, arguments: &Value, asked: &Asked) -> Option<ToolOutcome> {
        if tool != "get_forecast" {
            return None;
        }
        let city = arguments.get("city").and_then(Value::as_str).unwrap_or_default().trim();
        if city.is_empty() {
            return Some(ToolOutcome::failed("give the name of a city as \"city\""));
        }
        for (n, step) in STEPS.iter().enumerate() {
            asked.progress(n, STEPS.len(), step).await;
            tokio::time::sleep(STEP_TIME).await;
        }
        Some(forecast(city))
    }
}

fn forecast(city: &str) -> ToolOutcome {
    let days: Vec<Value> = (1..=DAYS).map(|day| one_day(city, day)).collect();
    let lines: Vec<String> = days
        .iter()
        .map(|day| {
            let sky = day["sky"].as_str().unwrap_or_default();
            format!("day {}: {sky}, {} to {} °C", day["day"], day["low_celsius"], day["high_celsius"])
        })
        .collect();
    let text = format!("{city}\n{}", lines.join("\n"));
    ToolOutcome::text(text).with_structured(json!({ "city": city, "days": days }))
}

fn one_day(city: &str, day: u32) -> Value {
    let seed = hash(&city.to_lowercase()).wrapping_mul(0x9e37_79b9).wrapping_add(day.wrapping_mul(0x85eb_ca6b));
    let sky = SKIES[(seed >> 7) as usize % SKIES.len()];
    let low = i64::from(seed >> 13 & 15) + 2;
    let high = low + i64::from(seed >> 19 & 7) + 3;
    json!({ "day": day, "sky": sky, "low_celsius": low, "high_celsius": high })
}

/// FNV-1a: the same on every machine and in every version.
fn hash(text: &str) -> u32 {
    text.bytes().fold(0x811c_9dc5, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193))
}
