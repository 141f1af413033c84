// The operations as an extension of OpenVINO, which makes nodes from constants.
#include <openvino/core/extension.hpp>
#include <openvino/core/op_extension.hpp>
#include <openvino/op/constant.hpp>

#include "operations.hpp"

namespace crossette {

using Constant = ov::op::v0::Constant;

inline std::shared_ptr<Constant> constant(const ov::Output<ov::Node>& input) {
    const auto node = ov::as_type_ptr<Constant>(input.get_node_shared_ptr());
    OPENVINO_ASSERT(node, "the matrix is not constant");
    return node;
}

inline size_t count(const std::shared_ptr<Constant>& floats) {
    OPENVINO_ASSERT(floats->get_element_type() == ov::element::f32);
    return ov::shape_size(floats->get_shape());
}

// A matrix of integers `[outputs, groups, columns of a group]`, scales, and zero points, empty for none.
inline std::shared_ptr<const Panels> matrix(const std::shared_ptr<Constant>& integers,
                                            const std::shared_ptr<Constant>& scales,
                                            const std::shared_ptr<Constant>& zero_points) {
    const auto shape = integers->get_shape();
    const auto type = integers->get_element_type();
    OPENVINO_ASSERT(shape.size() == 3 && shape[2] % 8 == 0 && DEPTH % shape[2] == 0);
    OPENVINO_ASSERT(type.is_integral_number() && (type.bitwidth() == 4 || type.bitwidth() == 8));
    const size_t groups = shape[0] * shape[1], points = count(zero_points);
    OPENVINO_ASSERT(count(scales) == groups && (points <= 1 || points == groups));
    return std::make_shared<const Panels>(Source{
        shape[0], shape[1] * shape[2], shape[2], unsigned(type.bitwidth()), type.is_signed(),
        static_cast<const uint8_t*>(integers->get_data_ptr()), scales->get_data_ptr<float>(),
        points ? zero_points->get_data_ptr<float>() : nullptr, points == 1});
}

// Makes a node from x, the number of rows without results (any constant if there are none), and three constants for
// each matrix.
template <class Operation>
class MatricesExtension : public ov::BaseOpExtension {
public:
    const ov::DiscreteTypeInfo& get_type_info() const override { return Operation::get_type_info_static(); }

    ov::OutputVector create(const ov::OutputVector& inputs, ov::AttributeVisitor&) const override {
        OPENVINO_ASSERT(inputs.size() >= 5 && inputs.size() % 3 == 2);
        const auto matrices = std::make_shared<Matrices>();
        for (size_t port = 2; port < inputs.size(); port += 3)
            matrices->push_back(matrix(constant(inputs[port]), constant(inputs[port + 1]), constant(inputs[port + 2])));
        check(*matrices);
        const bool all_rows = ov::as_type_ptr<Constant>(inputs[1].get_node_shared_ptr()) != nullptr;
        const auto own = all_rows ? ov::OutputVector{inputs[0]} : ov::OutputVector{inputs[0], inputs[1]};
        return std::make_shared<Operation>(own, matrices)->outputs();
    }

    std::vector<ov::Extension::Ptr> get_attached_extensions() const override { return {}; }

private:
    static void check(const Matrices& matrices) {
        if constexpr (std::is_same_v<Operation, GatedProduct>) {
            OPENVINO_ASSERT(matrices.size() == 3);
            const Panels &gate = *matrices[0], &up = *matrices[1], &down = *matrices[2];
            OPENVINO_ASSERT(gate.columns == up.columns && gate.outputs == down.columns && up.outputs == down.columns);
        } else {
            for (const auto& matrix : matrices) OPENVINO_ASSERT(matrix->columns == matrices.front()->columns);
        }
    }
};

inline std::vector<ov::Extension::Ptr> extensions() {
    return {std::make_shared<MatricesExtension<QuantisedProduct>>(),
            std::make_shared<MatricesExtension<GatedProduct>>(),
            std::make_shared<ov::OpExtension<GatedActivation>>()};
}

}  // namespace crossette

OPENVINO_CREATE_EXTENSIONS(crossette::extensions());
