//! The admission policy that protects approvals: what it must say, and whether what a cluster has says it.

use k8s_openapi::api::admissionregistration::v1::{
    ValidatingAdmissionPolicy, ValidatingAdmissionPolicyBinding,
};

use super::{Group, Reason, Refusal};

/// The name of the policy and of its binding.
pub const NAME: &str = "devicecert-approval";

/// Who may set, change or take away an approval: holders of the verb `approve` on the device's group.
pub const EXPRESSION: &str = "(has(object.spec.approval) \
    ? (oldObject != null && has(oldObject.spec.approval) && oldObject.spec.approval == object.spec.approval) \
    : (oldObject == null || !has(oldObject.spec.approval))) \
    || authorizer.group('devicecert.dev').resource('enrollmentgroups').namespace(object.metadata.namespace)\
.name(object.spec.groupRef.name).check('approve').allowed()";

/// What is said of a group with approval: Manual where the policy is missing or weaker.
pub fn missing(group: &Group) -> Refusal {
    Refusal::new(
        Reason::ApprovalNotProtected,
        format!(
            "group {} has approval: Manual, but the ValidatingAdmissionPolicy {NAME} with its binding is missing or differs from the \
             one that this version brings, so whoever may edit a DeviceIdentity could approve it: install it (Helm value \
             approvalPolicy.enabled), or set approval: Automatic",
            group.key()
        ),
    )
}

/// Whether the policy and its binding hold for every DeviceIdentity, deny, and ask what [`EXPRESSION`] asks.
pub fn protects(
    policy: &ValidatingAdmissionPolicy,
    binding: &ValidatingAdmissionPolicyBinding,
) -> bool {
    is_whole(policy) && is_bound(binding)
}

/// Whether the policy holds for every DeviceIdentity and asks what [`EXPRESSION`] asks.
pub fn is_whole(policy: &ValidatingAdmissionPolicy) -> bool {
    holds_everywhere(policy).unwrap_or(false)
}

/// Whether the binding makes the policy deny, everywhere.
pub fn is_bound(binding: &ValidatingAdmissionPolicyBinding) -> bool {
    denies_everywhere(binding).unwrap_or(false)
}

fn holds_everywhere(policy: &ValidatingAdmissionPolicy) -> Option<bool> {
    let spec = policy.spec.as_ref()?;
    let matched = spec.match_constraints.as_ref()?;
    let [rule] = matched.resource_rules.as_deref()? else {
        return Some(false);
    };
    let operations = rule.operations.as_deref().unwrap_or_default();
    let covers = |operation: &str| operations.iter().any(|own| own == operation || own == "*");
    let is = |list: &Option<Vec<String>>, wanted: &[&str]| {
        list.as_ref()
            .is_some_and(|list| wanted.iter().any(|word| list.iter().any(|own| own == word)))
    };
    let asks = spec.validations.iter().flatten().any(|validation| {
        let words = |text: &str| text.split_whitespace().collect::<String>();
        words(&validation.expression) == words(EXPRESSION)
    });
    let everywhere = matched
        .namespace_selector
        .as_ref()
        .is_none_or(|selector| *selector == Default::default())
        && matched
            .object_selector
            .as_ref()
            .is_none_or(|selector| *selector == Default::default())
        && matched
            .exclude_resource_rules
            .as_ref()
            .is_none_or(Vec::is_empty)
        && rule.resource_names.as_ref().is_none_or(Vec::is_empty);
    Some(
        spec.failure_policy.as_deref().unwrap_or("Fail") == "Fail"
            && spec.match_conditions.as_ref().is_none_or(Vec::is_empty)
            && spec.param_kind.is_none()
            && everywhere
            && rule.scope.as_deref().is_none_or(|scope| scope != "Cluster")
            && is(&rule.api_groups, &["devicecert.dev", "*"])
            && is(&rule.api_versions, &["v1alpha1", "*"])
            && is(&rule.resources, &["deviceidentities", "*"])
            && covers("CREATE")
            && covers("UPDATE")
            && asks,
    )
}

fn denies_everywhere(binding: &ValidatingAdmissionPolicyBinding) -> Option<bool> {
    let spec = binding.spec.as_ref()?;
    let denies = spec
        .validation_actions
        .iter()
        .flatten()
        .any(|action| action == "Deny");
    Some(spec.policy_name.as_deref() == Some(NAME) && spec.match_resources.is_none() && denies)
}
