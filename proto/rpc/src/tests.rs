#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::fmt::Write as _;

use prost::Message as _;
use prost_types::{
    DescriptorProto, EnumDescriptorProto, FieldDescriptorProto, FileDescriptorSet, ServiceDescriptorProto,
    field_descriptor_proto::{Label, Type},
};

use crate::{FILE_DESCRIPTOR_SET, v1};

fn short(name: &str) -> &str {
    name.trim_start_matches(".spanwire.v1.").trim_start_matches('.')
}

fn service(out: &mut String, service: &ServiceDescriptorProto) {
    writeln!(out, "service {}", service.name()).unwrap();
    for method in &service.method {
        let stream = |on: bool| if on { "stream " } else { "" };
        let (input, output) = (short(method.input_type()), short(method.output_type()));
        let (up, down) = (stream(method.client_streaming()), stream(method.server_streaming()));
        writeln!(out, "  {}({up}{input}) -> {down}{output}", method.name()).unwrap();
    }
}

fn field(out: &mut String, message: &DescriptorProto, field: &FieldDescriptorProto) {
    let scalar = format!("{:?}", field.r#type()).to_lowercase();
    let kind = match field.r#type() {
        Type::Message | Type::Enum => short(field.type_name()),
        _ => &scalar,
    };
    let repeated = if field.label() == Label::Repeated { "repeated " } else { "" };
    let oneof = field.oneof_index.map(|index| format!(" (one of {})", message.oneof_decl[index as usize].name()));
    writeln!(out, "  {} {} {repeated}{kind}{}", field.number(), field.name(), oneof.unwrap_or_default()).unwrap();
}

fn message(out: &mut String, prefix: &str, descriptor: &DescriptorProto) {
    let name = format!("{prefix}{}", descriptor.name());
    writeln!(out, "message {name}").unwrap();
    for each in &descriptor.field {
        field(out, descriptor, each);
    }
    for nested in &descriptor.nested_type {
        message(out, &format!("{name}."), nested);
    }
}

fn enumeration(out: &mut String, descriptor: &EnumDescriptorProto) {
    writeln!(out, "enum {}", descriptor.name()).unwrap();
    for value in &descriptor.value {
        writeln!(out, "  {} {}", value.number(), value.name()).unwrap();
    }
}

fn describe() -> String {
    let mut out = String::new();
    for file in &FileDescriptorSet::decode(FILE_DESCRIPTOR_SET).unwrap().file {
        writeln!(out, "package {}", file.package()).unwrap();
        file.service.iter().for_each(|each| service(&mut out, each));
        file.enum_type.iter().for_each(|each| enumeration(&mut out, each));
        file.message_type.iter().for_each(|each| message(&mut out, "", each));
    }
    out
}

#[test]
fn the_shape_of_the_contract_is_golden() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/golden/broker.txt");
    let got = describe();
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(path, &got).unwrap();
    }
    let expected = std::fs::read_to_string(path).expect("golden/broker.txt, written with UPDATE_GOLDEN=1");
    assert_eq!(got, expected, "the contract changed: if that is meant, run with UPDATE_GOLDEN=1");
}

#[test]
fn debug_text_holds_no_secret() {
    let stdio = v1::StdioTarget {
        command: "run".into(),
        args: vec!["--token=hunter2".into()],
        env: [("TOKEN".into(), "hunter2".into())].into(),
        ..Default::default()
    };
    let http = v1::HttpTarget {
        url: "https://user:hunter2@host/mcp".into(),
        headers: [("authorization".into(), "hunter2".into())].into(),
    };
    for target in [v1::server_spec::Target::Stdio(stdio), v1::server_spec::Target::Http(http)] {
        let request = v1::AddServerRequest {
            spec: Some(v1::ServerSpec { target: Some(target), ..Default::default() }),
            replace: false,
            ..Default::default()
        };
        assert!(!format!("{request:?}").contains("hunter2"));
    }
}
