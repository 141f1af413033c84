// OpenVINO's operation for products with quantised matrices.
#include <openvino/core/extension.hpp>
#include <openvino/core/op_extension.hpp>
#include <openvino/op/constant.hpp>
#include <openvino/op/op.hpp>

#include "kernels.hpp"

namespace crossette {

// The product of `[..., columns]` with the transposed matrix. The matrix is part of the node, not an input, so that
// the graph has nothing more to convert or to copy.
class QuantisedProduct : public ov::op::Op {
public:
    OPENVINO_OP("QuantisedProduct", "crossette")

    QuantisedProduct() = default;
    QuantisedProduct(const ov::Output<ov::Node>& x, std::shared_ptr<const Panels> panels)
        : Op({x}), _panels(std::move(panels)) {
        constructor_validate_and_infer_types();
    }

    void validate_and_infer_types() override {
        auto shape = get_input_partial_shape(0);
        OPENVINO_ASSERT(_panels && get_input_element_type(0) == ov::element::f32 && shape.rank().is_static());
        auto& last = shape[shape.size() - 1];
        OPENVINO_ASSERT(last.compatible(_panels->columns), "a matrix of another number of columns");
        last = _panels->outputs;
        set_output_type(0, ov::element::f32, shape);
    }

    std::shared_ptr<ov::Node> clone_with_new_inputs(const ov::OutputVector& inputs) const override {
        return std::make_shared<QuantisedProduct>(inputs.at(0), _panels);
    }

    // Nodes of the same type, inputs and attributes are merged, so the matrix must be among these.
    bool visit_attributes(ov::AttributeVisitor& visitor) override {
        auto matrix = static_cast<int64_t>(reinterpret_cast<intptr_t>(_panels.get()));
        visitor.on_attribute("matrix", matrix);
        return true;
    }

    bool has_evaluate() const override { return true; }

    bool evaluate(ov::TensorVector& outputs, const ov::TensorVector& inputs) const override {
        auto shape = inputs[0].get_shape();
        shape.back() = _panels->outputs;
        outputs[0].set_shape(shape);
        const float* x = static_cast<const ov::Tensor&>(inputs[0]).data<const float>();
        multiply(*_panels, x, inputs[0].get_size() / _panels->columns, outputs[0].data<float>());
        return true;
    }

private:
    std::shared_ptr<const Panels> _panels;
};

// Makes a node from x and the constants of the matrix: integers `[outputs, groups, columns of a group]`, scales, and
// zero points if there are any.
class QuantisedProductExtension : public ov::BaseOpExtension {
public:
    const ov::DiscreteTypeInfo& get_type_info() const override { return QuantisedProduct::get_type_info_static(); }

    ov::OutputVector create(const ov::OutputVector& inputs, ov::AttributeVisitor&) const override {
        OPENVINO_ASSERT(inputs.size() == 3 || inputs.size() == 4);
        const auto integers = constant(inputs[1]), scales = constant(inputs[2]);
        const auto zero_points = inputs.size() == 4 ? constant(inputs[3]) : nullptr;
        const auto shape = integers->get_shape();
        const auto type = integers->get_element_type();
        OPENVINO_ASSERT(shape.size() == 3 && shape[2] % 8 == 0 && DEPTH % shape[2] == 0);
        OPENVINO_ASSERT(type.is_integral_number() && (type.bitwidth() == 4 || type.bitwidth() == 8));
        OPENVINO_ASSERT(is_of_floats(*scales, shape[0] * shape[1]));
        const bool one = zero_points && is_of_floats(*zero_points, 1);
        OPENVINO_ASSERT(!zero_points || one || is_of_floats(*zero_points, shape[0] * shape[1]));
        const auto panels = std::make_shared<Panels>(Source{
            shape[0], shape[1] * shape[2], shape[2], unsigned(type.bitwidth()), type.is_signed(),
            static_cast<const uint8_t*>(integers->get_data_ptr()), scales->get_data_ptr<float>(),
            zero_points ? zero_points->get_data_ptr<float>() : nullptr, one});
        return std::make_shared<QuantisedProduct>(inputs[0], panels)->outputs();
    }

    std::vector<ov::Extension::Ptr> get_attached_extensions() const override { return {}; }

private:
    static std::shared_ptr<ov::op::v0::Constant> constant(const ov::Output<ov::Node>& input) {
        const auto node = ov::as_type_ptr<ov::op::v0::Constant>(input.get_node_shared_ptr());
        OPENVINO_ASSERT(node, "the matrix is not constant");
        return node;
    }

    static bool is_of_floats(const ov::op::v0::Constant& node, size_t count) {
        return node.get_element_type() == ov::element::f32 && ov::shape_size(node.get_shape()) == count;
    }
};

}  // namespace crossette

OPENVINO_CREATE_EXTENSIONS(std::vector<ov::Extension::Ptr>{std::make_shared<crossette::QuantisedProductExtension>()});
