// OpenVINO's operation for products with quantised matrices.
#include <map>

#include <openvino/core/extension.hpp>
#include <openvino/core/op_extension.hpp>
#include <openvino/op/constant.hpp>
#include <openvino/op/op.hpp>

#include "kernels.hpp"

namespace crossette {

using Matrices = std::vector<std::shared_ptr<const Panels>>;

// The products of `[..., columns]` with transposed matrices, an output for each. The matrices are part of the node, not
// inputs, so that the graph has nothing more to convert or to copy. The second input, if there is one, is a number of
// rows at the end that need no results; theirs are zero.
class QuantisedProduct : public ov::op::Op {
public:
    OPENVINO_OP("QuantisedProduct", "crossette")

    QuantisedProduct() = default;
    QuantisedProduct(const ov::OutputVector& inputs, std::shared_ptr<const Matrices> matrices)
        : Op(inputs), _matrices(std::move(matrices)) {
        constructor_validate_and_infer_types();
    }

    void validate_and_infer_types() override {
        auto shape = get_input_partial_shape(0);
        OPENVINO_ASSERT(_matrices && get_input_element_type(0) == ov::element::f32 && shape.rank().is_static());
        OPENVINO_ASSERT(get_input_size() == 1 || get_input_element_type(1) == ov::element::i32);
        OPENVINO_ASSERT(shape[shape.size() - 1].compatible(columns()), "matrices of another number of columns");
        for (size_t index = 0; index < _matrices->size(); index++) {
            shape[shape.size() - 1] = (*_matrices)[index]->outputs;
            set_output_type(index, ov::element::f32, shape);
        }
    }

    std::shared_ptr<ov::Node> clone_with_new_inputs(const ov::OutputVector& inputs) const override {
        return std::make_shared<QuantisedProduct>(inputs, _matrices);
    }

    // Nodes of the same type, inputs and attributes are merged, so the matrices must be among these.
    bool visit_attributes(ov::AttributeVisitor& visitor) override {
        auto matrices = static_cast<int64_t>(reinterpret_cast<intptr_t>(_matrices.get()));
        visitor.on_attribute("matrices", matrices);
        return true;
    }

    bool has_evaluate() const override { return true; }

    bool evaluate(ov::TensorVector& outputs, const ov::TensorVector& inputs) const override {
        const size_t rows = inputs[0].get_size() / columns();
        const size_t skipped = inputs.size() > 1 ? *values<int32_t>(inputs[1]) : 0;
        const size_t computed = rows - std::min(rows, skipped);
        auto shape = inputs[0].get_shape();
        const float* x = values<float>(inputs[0]);
        std::map<size_t, Rows> rounded;  // by the size of their groups
        std::vector<Product> products;
        for (size_t index = 0; index < outputs.size(); index++) {
            const Panels& panels = *(*_matrices)[index];
            shape.back() = panels.outputs;
            outputs[index].set_shape(shape);
            float* results = outputs[index].data<float>();
            std::fill(results + computed * panels.outputs, results + rows * panels.outputs, 0.0f);
            const auto found = rounded.try_emplace(panels.group, x, computed, columns(), panels.group).first;
            products.push_back({&panels, &found->second, results});
        }
        multiply(products, computed);
        return true;
    }

private:
    template <class T>
    static const T* values(const ov::Tensor& tensor) {
        return tensor.data<const T>();
    }

    size_t columns() const { return _matrices->front()->columns; }

    std::shared_ptr<const Matrices> _matrices;
};

// Makes a node from x, the number of rows without results (any constant if there are none), and three constants for
// each matrix: integers `[outputs, groups, columns of a group]`, scales, and zero points, empty for none.
class QuantisedProductExtension : public ov::BaseOpExtension {
public:
    const ov::DiscreteTypeInfo& get_type_info() const override { return QuantisedProduct::get_type_info_static(); }

    ov::OutputVector create(const ov::OutputVector& inputs, ov::AttributeVisitor&) const override {
        OPENVINO_ASSERT(inputs.size() >= 5 && inputs.size() % 3 == 2);
        const auto matrices = std::make_shared<Matrices>();
        for (size_t port = 2; port < inputs.size(); port += 3)
            matrices->push_back(matrix(constant(inputs[port]), constant(inputs[port + 1]), constant(inputs[port + 2])));
        for (const auto& matrix : *matrices) OPENVINO_ASSERT(matrix->columns == matrices->front()->columns);
        const bool all_rows = ov::as_type_ptr<Constant>(inputs[1].get_node_shared_ptr()) != nullptr;
        const auto own = all_rows ? ov::OutputVector{inputs[0]} : ov::OutputVector{inputs[0], inputs[1]};
        return std::make_shared<QuantisedProduct>(own, matrices)->outputs();
    }

    std::vector<ov::Extension::Ptr> get_attached_extensions() const override { return {}; }

private:
    using Constant = ov::op::v0::Constant;

    static std::shared_ptr<const Panels> matrix(const std::shared_ptr<Constant>& integers,
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

    static std::shared_ptr<Constant> constant(const ov::Output<ov::Node>& input) {
        const auto node = ov::as_type_ptr<Constant>(input.get_node_shared_ptr());
        OPENVINO_ASSERT(node, "the matrix is not constant");
        return node;
    }

    static size_t count(const std::shared_ptr<Constant>& floats) {
        OPENVINO_ASSERT(floats->get_element_type() == ov::element::f32);
        return ov::shape_size(floats->get_shape());
    }
};

}  // namespace crossette

OPENVINO_CREATE_EXTENSIONS(std::vector<ov::Extension::Ptr>{std::make_shared<crossette::QuantisedProductExtension>()});
