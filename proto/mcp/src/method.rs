//! Method names of every revision that this code speaks. A name outside the list is carried as it is.

use std::{fmt, sync::Arc};

macro_rules! methods {
    ($($(#[$doc:meta])* $variant:ident = $name:literal,)*) => {
        /// A JSON-RPC method. Unknown methods survive as [`Method::Other`].
        #[derive(Debug, Clone, PartialEq, Eq, Hash)]
        pub enum Method {
            $($(#[$doc])* $variant,)*
            /// Any other method, by its name.
            Other(Arc<str>),
        }

        impl Method {
            /// The name as it stands on the wire.
            pub fn as_str(&self) -> &str {
                match self {
                    $(Self::$variant => $name,)*
                    Self::Other(name) => name,
                }
            }
        }

        impl From<&str> for Method {
            fn from(name: &str) -> Self {
                match name {
                    $($name => Self::$variant,)*
                    other => Self::Other(other.into()),
                }
            }
        }
    };
}

methods! {
    /// What a modern server can do.
    Discover = "server/discover",
    /// The handshake of legacy revisions.
    Initialize = "initialize",
    /// Legacy liveness check.
    Ping = "ping",
    /// Lists tools.
    ToolsList = "tools/list",
    /// Calls a tool.
    ToolsCall = "tools/call",
    /// Lists prompts.
    PromptsList = "prompts/list",
    /// Renders a prompt.
    PromptsGet = "prompts/get",
    /// Lists resources.
    ResourcesList = "resources/list",
    /// Lists resource templates.
    ResourceTemplatesList = "resources/templates/list",
    /// Reads a resource.
    ResourcesRead = "resources/read",
    /// Legacy subscription to one resource.
    ResourcesSubscribe = "resources/subscribe",
    /// Ends a legacy subscription.
    ResourcesUnsubscribe = "resources/unsubscribe",
    /// Completes an argument.
    Complete = "completion/complete",
    /// Legacy log level of a session.
    SetLevel = "logging/setLevel",
    /// Opens a modern notification stream.
    Listen = "subscriptions/listen",
    /// Asks for a task: extension `io.modelcontextprotocol/tasks`, and the experimental tasks of 2025-11-25.
    TasksGet = "tasks/get",
    /// Answers what a task asks: extension tasks.
    TasksUpdate = "tasks/update",
    /// Asks to cancel a task, in both forms.
    TasksCancel = "tasks/cancel",
    /// Waits for the result of a task: 2025-11-25 only.
    TasksResult = "tasks/result",
    /// Lists tasks: 2025-11-25 only.
    TasksList = "tasks/list",
    /// A legacy server asks for a model completion.
    SamplingCreateMessage = "sampling/createMessage",
    /// A legacy server asks the user.
    ElicitationCreate = "elicitation/create",
    /// A legacy server asks for the roots.
    RootsList = "roots/list",
    /// The client has finished the legacy handshake.
    Initialized = "notifications/initialized",
    /// A request is no longer wanted.
    Cancelled = "notifications/cancelled",
    /// Progress of a request.
    Progress = "notifications/progress",
    /// A log message.
    LogMessage = "notifications/message",
    /// The tools changed.
    ToolsListChanged = "notifications/tools/list_changed",
    /// The prompts changed.
    PromptsListChanged = "notifications/prompts/list_changed",
    /// The resources changed.
    ResourcesListChanged = "notifications/resources/list_changed",
    /// One resource changed.
    ResourceUpdated = "notifications/resources/updated",
    /// The honoured filter of a listen stream.
    SubscriptionAcknowledged = "notifications/subscriptions/acknowledged",
    /// The state of a task: extension tasks.
    TaskStatus = "notifications/tasks",
    /// The state of a task: 2025-11-25.
    LegacyTaskStatus = "notifications/tasks/status",
    /// What a URL elicitation of 2025-11-25 was about is done.
    ElicitationComplete = "notifications/elicitation/complete",
    /// The roots changed.
    RootsListChanged = "notifications/roots/list_changed",
}

impl Method {
    /// The member of `params` that names the target of a call: what the header `Mcp-Name` mirrors.
    pub fn name_member(&self) -> Option<&'static str> {
        match self {
            Self::ToolsCall | Self::PromptsGet => Some("name"),
            Self::ResourcesRead => Some("uri"),
            Self::TasksGet | Self::TasksUpdate | Self::TasksCancel => Some("taskId"),
            _ => None,
        }
    }

    /// True for methods that a modern server answers; the rest of the known ones belong to legacy sessions.
    pub fn is_modern_request(&self) -> bool {
        matches!(
            self,
            Self::Discover
                | Self::ToolsList
                | Self::ToolsCall
                | Self::PromptsList
                | Self::PromptsGet
                | Self::ResourcesList
                | Self::ResourceTemplatesList
                | Self::ResourcesRead
                | Self::Complete
                | Self::Listen
                | Self::TasksGet
                | Self::TasksUpdate
                | Self::TasksCancel
        )
    }

    /// True for the requests that may be answered with `input_required` (2026-07-28, basic/patterns/mrtr, "Supported Requests").
    pub fn takes_input(&self) -> bool {
        matches!(self, Self::ToolsCall | Self::PromptsGet | Self::ResourcesRead)
    }
}

impl fmt::Display for Method {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
